# Protocol.md 5.10: an entry is executed long after it was prepared, and by then the primary has heard
# of a later time. What expires with it is what was idle when it was prepared.
cluster 3 expiry 100ms
given crash r2
request c1 put a 1
advance 120ms
request c2 put b 2
settle
expect reply c1 "ok"
expect reply c2 "ok"
request c1 put a 3
given restart r2
given run 2s
expect reply c1 "ok"
expect key a 3
expect key b 2
expect same-state *
