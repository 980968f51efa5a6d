# Paper, section 4.1: request, prepare, prepare-ok, commit, reply.
cluster 3
request c1 put x 1
deliver r0->r1
expect no reply c1
deliver r1->r0
expect r0 commit 1
expect reply c1 "ok"

# The other backup learns of the commit with the next message.
deliver r0->r2
expect r2 commit 0
run 100ms
expect key x 1
expect same-state *
