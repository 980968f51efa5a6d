# A clock that is somewhat ahead is caught up with: the primary sends the entry again, and by then its time is plausible.
cluster 5 predicts primary
clock r0 ahead 1030ms
block r0->r3 prepare
block r0->r4 prepare
request c1 put x 1
deliver r0->r1 prepare
deliver r0->r2 prepare
settle
expect no reply c1
expect r0 primary
run 200ms
expect reply c1 "ok"
expect r0 primary
expect key predicted r0.1@1030ms/0
