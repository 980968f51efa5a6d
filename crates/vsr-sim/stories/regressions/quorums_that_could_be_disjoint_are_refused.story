# SEED-S7: two of four, or three of six, are not both a quorum to replicate and one to change views.
refuse cluster 4 quorum 2/2
refuse cluster 6 quorum 3/3
refuse cluster 0
cluster 4
request c1 put x 1
deliver r0->r1
deliver r1->r0
expect reply c1 "ok"
cut r0 r1 | r2 r3
timeout r2 primary-silence
timeout r3 primary-silence
settle
expect r2 view 0
expect r3 view 0
