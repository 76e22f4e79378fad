"""One loaded model that generates one reply after the other.

`loaded_model` loads model and tokenizer.  `turn_queue` takes the jobs of requests in the order they
came, in one thread; a job is one step of the engine, so that its replies come from one set of
weights.  `generation` runs transformers' `generate` token by token; `reply_text` makes text of
tokens, and holds back what may still change; `reply` sends pieces of text to the request that
waits.  A `generation_job` is a request without HTTP.

`pvc.serve.http.app` submits jobs.
Tests: tests/serve/.
"""
