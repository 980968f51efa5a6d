# View 1 began with op 1, which was acknowledged. r2 knows its header, lacks its body, has a gap at op 2,
# and restarts: it must still know that op 1 was inherited, or op 1 looks like an entry of view 1 that
# r0, which holds it from view 0, never held (ADR 16).
cluster 3
given request c1 put x 1
given drop r0->r2
given deliver r0->r1
given deliver r1->r0
expect reply c1 "ok"
cut r0 | r1 r2
cut c2->r0
cut c3->r0
crash r0
restart r0
block r2->r1 get-entry
block r1->r2 prepare
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
request c2 put y 2
given resend c2
unblock r1->r2 prepare
request c3 put z 3
given resend c3
deliver r1->r2 prepare
crash r1
drop r1->*
heal
given timeout r2 primary-silence
given timeout r0 view-change-stuck
deliver r0->r2 start-view-change
crash r2
restart r2
given run 60s
expect r2 primary
expect key x 1
