# Paper, section 4.2, step 3: the log of the latest view wins, and only among those of that view the longest. r0
# has three entries that nobody else holds; the next view committed one.
cluster 3 batch 1 window 4
block r0->r1 prepare
block r0->r2 prepare
block c1->r1 request
block c1->r2 request
given request c1 put a 1
given request c1 put a 2
given request c1 put a 3
given settle
expect r0 op 3
cut r0 | r1 r2
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
block c2->r0 request
request c2 put b 1
resend c2
settle
expect reply c2 "ok"
block r1->r2 do-view-change
crash r1
restart r1
settle
heal
timeout r2 do-view-change-resend
settle
expect r2 primary
expect r2 op 1
expect r2 view 2
