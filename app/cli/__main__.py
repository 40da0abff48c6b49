"""`python -m app.cli`: the same as `halftime`."""

# A process that is started apart loads this file again, under another name.
if __name__ == "__main__":
    from app.cli import main

    main()
