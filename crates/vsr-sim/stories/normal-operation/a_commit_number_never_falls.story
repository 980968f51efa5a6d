# D12: a COMMIT that is late, and speaks of less than is known, changes nothing.
cluster 3
given request c1 put x 1
given settle
timeout r0 heartbeat
given hold r0->r1 commit as m1
given request c1 put y 2
given settle
given request c1 put z 3
given settle
expect r1 commit 2
release m1
deliver r0->r1 commit
expect r1 commit 2
timeout r0 heartbeat
settle
expect r1 commit 3
expect same-state *
