# Protocol.md 5.10: more clients than sessions. Each registration evicts the other client in the middle
# of its request; who was evicted twice without an answer waits before it registers again.
cluster 3 sessions 1
given crash r2
given request c10 put a 1
given request c11 put b 2
settle
given restart r2
given run 5s
expect reply c10 "ok"
expect reply c11 "ok"
expect same-state *
