# Paper, section 4.3: a replica whose log was in memory comes back with nothing but its fence. It takes
# part again when a view-change quorum of others has answered, the primary among them, and it holds all
# that the primary's log has.
cluster 3 durability memory
given request c1 put x 1
given settle
given request c1 put x 2
given settle
crash r2
request c1 put y 3
settle
restart r2
expect r2 status recovering
deliver r2->r0
deliver r0->r2 recovery-response
expect r2 status recovering
deliver r2->r1
deliver r1->r2 recovery-response
show log r2
expect r2 status recovering
settle
expect r2 status backup
timeout r0 heartbeat
settle
expect r2 commit 3
expect same-state *
