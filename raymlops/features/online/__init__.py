"""Features as of now: online stores, materialisation and the reads of serving."""
