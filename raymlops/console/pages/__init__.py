"""One module for each subject of the console: it asks the sources, and gives the template what it shows."""
