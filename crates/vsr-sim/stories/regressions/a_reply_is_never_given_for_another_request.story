# SEED-S9: a copy of an earlier request is not answered with the reply of a later one.
cluster 3
given catch c1->r0 request as m1
request c1 put x 1
release m1
settle
expect reply c1 "ok"
request c1 get x
settle
expect reply c1 "1"
release m1
expect r0 ignored older-request
expect r0 op 2
