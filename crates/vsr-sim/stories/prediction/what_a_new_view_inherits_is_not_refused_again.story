# A refusal is a chance, and no more. With r2 dead, the view change has two logs: one that refused the entry, and that of
# the primary which made it. It may have been committed, for all that these know: it stays, and is executed. Were it
# judged again, the group would never go on. One refusal alone leaves a quorum: the primary gives way when nothing has
# moved for five seconds.
cluster 3 predicts primary
clock r0 ahead 60000ms
crash r2
request c1 put x 1
deliver r0->r1 prepare
expect r1 commit 0
deliver r1->r0 nack
expect r0 primary
given run 10s
expect r1 primary
expect reply c1 "ok"
expect key predicted r0.1@60000ms/0
request c1 put x 2
run 1s
expect reply c1 "ok"
restart r2
run 1s
expect key x 2
expect same-state *
