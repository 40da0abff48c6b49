"""HTTP: the API's routes, the pages, and the use cases that both call.

`api` parses a request, calls a use case or the store, and builds the response; `pages` does so for browsers. `http` has
the mechanics that both share; `openapi` completes the document.
"""
