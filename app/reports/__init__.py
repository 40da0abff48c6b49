"""Text renderings of reports: wording, tables, Markdown, CSV and terminal output."""
