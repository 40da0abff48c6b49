"""The web pages: templates, static files, and the data they show."""
