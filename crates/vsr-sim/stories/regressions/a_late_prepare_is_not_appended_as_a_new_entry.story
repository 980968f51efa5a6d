# SEED-S3: PREPAREs that are delayed or doubled, of this view or an earlier one, add nothing.
cluster 3
given request c1 put x 1
double r0->r2
deliver r0->r2
expect r2 op 1
given settle
given request c1 put y 2
hold r0->r2 prepare as m1
given drop r0->r1
given crash r0
given block c1->r1 request
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r2 view 1
expect r2 op 1
release m1
deliver r0->r2 prepare
expect r2 ignored older-view
expect r2 op 1
unblock c1->r1 request
resend c1
settle
expect reply c1 "ok"
expect r2 op 2
