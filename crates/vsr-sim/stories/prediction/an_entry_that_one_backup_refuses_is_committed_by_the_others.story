# The clock of one backup is behind that of the others: it refuses what they agree to. Its acknowledgement is not needed,
# and what is committed it holds and executes like everybody.
cluster 3 predicts primary
clock r0 ahead 5000ms
clock r1 ahead 5000ms
request c1 put x 1
deliver r0->r2 prepare
deliver r2->r0 nack
expect r2 commit 0
settle
expect reply c1 "ok"
expect r0 primary
timeout r0 heartbeat
settle
expect r2 commit 1
expect key predicted r0.1@5000ms/0
expect same-state *
