"""The caller's path: fast, and never failing because of us. It copies bytes and parses no body.

server      ProxyServer: listens, watches the deadlines, drains
client      the client's connection: aiohttp's C parser, our deadlines and error answers
handler     one request, in order: checked, routed, admitted, authenticated, carried
targets     what may be asked for, and the upstream's target for it
headers     which fields pass, which end here, which requests are refused
auth        project keys: who is calling, and which provider key goes in its place
limits      what a project may send: quota, cap, rate, share; counted
relay       one exchange under way; it ends exactly once
upstream    one upstream connection: llhttp on our own Protocol
pool        upstream connections kept alive
tee         a copy of both bodies for the capture log, within limits
stripping   credentials out of what is captured
answers     errors of ours, OpenAI-shaped
journal     what goes to the log: few lines, no bodies
operations  /healthz, /readyz, /metrics;  metrics: the figures behind them
"""
