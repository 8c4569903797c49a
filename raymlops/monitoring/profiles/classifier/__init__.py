"""Drift of several columns together: can a classifier tell a window's rows from the reference's?"""
