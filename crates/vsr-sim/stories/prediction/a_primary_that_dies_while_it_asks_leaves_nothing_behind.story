# An open entry is in no log. Its client sends the request again to the next primary, where it is executed once, with a
# value of that view. An answer to the dead primary's question is nothing to its successor.
cluster 3 predicts backups
request c1 incr n
deliver r0->r1 pre-step
hold r1->r0 pre-step-ok as late
crash r0
run 2s
expect reply c1 "1"
expect r1 primary
restart r0
release late
settle
expect r0 ignored older-view
run 1s
expect key n 1
expect same-state *
