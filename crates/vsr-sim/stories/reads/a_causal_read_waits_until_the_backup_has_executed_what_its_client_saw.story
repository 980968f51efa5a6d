# Paper, section 6.3: the client names the op of the last answer that it saw; a backup that has not
# executed it waits, and asks nobody.
cluster 3
block r0->r2 prepare
block r0->r2 commit
given request c1 put x 1
given settle
read c1 r2 causal get x
expect no reply c1
read c2 r2 causal get x
expect reply c2 "(none)"
unblock r0->r2
timeout r0 heartbeat
settle
expect reply c1 "1"
