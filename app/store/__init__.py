"""All persistent state, in PostgreSQL: tables, queries, migrations, and the embedded server."""
