"""One module for each subject of the console: it asks the sources, and fills the template."""
