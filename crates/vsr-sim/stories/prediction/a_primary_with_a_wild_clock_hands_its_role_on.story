# A backup's service judges a value before the entry is held. A time far ahead is refused by both backups: neither holds
# the entry, so that no quorum can come about, and the primary gives way when it next looks whether it should. Both deny it in the view change: it is
# cut, and its client's request is executed by the next primary, with a time that is right.
cluster 3 predicts primary
clock r0 ahead 60000ms
request c1 put x 1
deliver r0->r1 prepare
deliver r0->r2 prepare
expect r1 op 1
deliver r1->r0 nack
expect r0 primary
deliver r2->r0 nack
timeout r0 abdicate
deliver r0->r1 start-view-change
deliver r0->r2 start-view-change
cut r0->r1
cut r0->r2
settle
expect r1 primary
heal
given run 1s
expect reply c1 "ok"
expect key x 1
expect same-state *
