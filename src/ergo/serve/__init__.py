"""An OpenAI-compatible endpoint whose model looks twice, and a page that shows how.

wire.py       a chat request -> a Query; a Trace -> replies, chunks, errors
pictures.py   data URIs, and allow-listed hosts without a way into the network behind the server
engine.py     many clients, one model: batches, a bound on how many, deadlines, cancellation
app.py        routes and limits
page.html     one file, no build step, asks nobody else
"""
