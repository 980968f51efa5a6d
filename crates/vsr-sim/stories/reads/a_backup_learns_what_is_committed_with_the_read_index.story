# r2 has the entry, and does not know that it is committed: no PREPARE follows, and the next heartbeat is far.
# The primary tells it with the read index, so that the read waits for nothing else.
cluster 3
given request c1 put x 1
given settle
expect r2 op 1
expect r2 commit 0
read c2 r2 linearizable get x
settle
expect reply c2 "1"
