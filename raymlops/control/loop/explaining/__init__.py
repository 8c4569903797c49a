"""Explanations of the controller: the status of a model, and the reasons for or against a decision."""
