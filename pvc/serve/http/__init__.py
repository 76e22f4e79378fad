"""OpenAI's HTTP interface: requests are checked, and replies take its form.

`app` has the routes, and turns errors into HTTP statuses.  `requests` reads the bodies of
completions and chats strictly where that matters, and makes a `GenerationJob` of each.  `limits`
bounds their size.  `replies` puts pieces of text into whole replies or chunks of a stream, which
`request_id` marks.  When a client hangs up, its job ends with the next token.

`pvc.serve.server` runs the application.
Tests: tests/serve/.
"""
