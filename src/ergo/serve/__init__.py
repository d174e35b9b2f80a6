"""An OpenAI-compatible endpoint whose model looks twice, and a page that shows how.

wire.py       a chat request -> what is asked about which picture; traces -> replies, chunks, errors
pictures.py   data URIs, and allow-listed hosts without a way into the network behind the server
engine.py     many clients, one model: batches, a bounded queue, deadlines, cancellation
app.py        routes and limits
page.html     one file, no build step, asks nobody else
"""
