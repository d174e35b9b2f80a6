"""An OpenAI-compatible endpoint whose model looks twice, and a page that shows how.

settings.py     how a server is run; every limit, with its unit
connections.py  how many, and how long a head may take      gate.py   hosts, the last boundary, the access log
app.py          routes: key, body, question, reply          bodies.py bytes -> JSON, pictures cut out
chat.py         a request -> a Query, or what is refused    replies.py   a Trace -> a reply, chunks, errors
responses.py    the same in the Responses API's words       structured.py the answer in the form of a schema
flows.py        text alone, several pictures, token limits  engine.py many clients, one model, and how it is
pictures.py     files that wait, decoded within one bound   fetch.py  allowed hosts, never the network behind the server
apart.py        decoders that would hold everybody up
meters.py       what /metrics shows                          run.py    from start to SIGTERM
page/           the page: no build step, asks nobody else
"""
