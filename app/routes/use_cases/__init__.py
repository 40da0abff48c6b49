"""Use cases that API routes and pages share: submit, rerun, cancel, compare, drain and so on.

They take sessions, settings and ids, know no request or response, and raise the errors of `app.errors`. One that
changes something runs its own transaction: its session must have none open.
"""
