# Protocol.md 5.10: a session has a window of requests in flight; they are executed in the order of
# their numbers, each once, though every one of them comes twice.
cluster 3 window 4
request c1 put a 1
request c1 append a 2
request c1 append a 3
resend c1
settle
given timeout r0 heartbeat
given settle
expect key a 123
request c1 get a
settle
expect reply c1 "123"
given timeout r0 heartbeat
given settle
expect same-state *
