# Protocol.md 5.10: the span from the lowest request that is not answered to the last is less than the
# window.
cluster 3 window 2
request c1 put a 1
request c1 put b 2
refuse request c1 put c 3
settle
request c1 put c 3
settle
expect reply c1 "ok"
given timeout r0 heartbeat
given settle
expect same-state *
