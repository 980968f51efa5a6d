# Paper, section 4.1: what is not acknowledged is sent again.
cluster 3
request c1 put x 1
drop r0->r1
drop r0->r2
expect no reply c1
timeout r0 prepare-resend
settle
expect reply c1 "ok"
