# An answer that took its time says where its sender was, and its sender may have acknowledged more since.
# Nonces tell questions apart, those of an earlier life too.
cluster 3 durability memory
given request c1 put x 1
given settle
crash r2
restart r2
deliver r2->r0
deliver r2->r1
hold r0->r2 recovery-response as m0
hold r1->r2 recovery-response as m1
given request c1 put x 2
given settle
timeout r2 recovery
release m0
deliver r0->r2 recovery-response
expect r2 ignored not-asked
release m1
deliver r1->r2 recovery-response
expect r2 ignored not-asked
expect r2 op 0
crash r2
restart r2
release m0
deliver r0->r2 recovery-response
expect r2 ignored not-asked
settle
expect r2 status backup
expect r2 op 2
