# Protocol.md 5.10: a full table evicts its least recently used session, by commit order.
cluster 3 sessions 10
given request c1 put a 1
given settle
request c10 put b 2
given settle
expect reply c10 "ok"
request c11 put c 3
given settle
expect reply c11 "ok"
request c2 put d 4
settle
expect reply c2 "ok"
given timeout r0 heartbeat
given settle
expect key d 4
expect same-state *
