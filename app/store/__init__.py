"""PostgreSQL: the only state there is. Tables, queries, migrations, and the embedded server."""
