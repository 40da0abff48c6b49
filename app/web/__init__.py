"""What a person sees in a browser: templates and static files."""
