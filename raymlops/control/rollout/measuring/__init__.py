"""From prediction events and labels to the evidence of a trial."""
