# Protocol.md 5.5: a damaged entry is neither held nor denied; it is repaired by its checksum.
cluster 3
given load c1 4 k
given timeout r0 heartbeat
given settle
crash r2
corrupt r2 log 2
restart r2
settle
given timeout r0 heartbeat
settle
expect r2 commit 4
expect same-state *
expect same-log r0 r2
