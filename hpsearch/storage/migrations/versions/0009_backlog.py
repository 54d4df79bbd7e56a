"""A view for whoever starts workers: how many more could hold a trial of each running study, and how many do.

It says what `claims.claim_trial` would give, by the same rules; a test compares the two through the life of a study.
A later version replaces it with `create or replace view`, which keeps what was granted on it.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

# A spec may hold what this version does not know, or no JSON that a cast takes: `trials` is null then.
READ_BUDGET = r"""
create function hpsearch.read_budget(
    spec json,
    out trials integer,
    out attempts integer,
    out failures integer,
    out hours double precision,
    out target double precision,
    out metric text
) language plpgsql stable as $$
begin
    attempts := coalesce(spec #>> '{budget,attempts}', '3');
    failures := coalesce(spec #>> '{budget,failures}', '5');
    hours := spec #>> '{budget,hours}';
    target := spec #>> '{budget,target}';
    metric := coalesce(spec #>> '{study,metric}', 'val_accuracy');
    if attempts > 0 and failures > 0 and json_typeof(spec -> 'study') = 'object' then
        trials := spec #>> '{budget,trials}';
    end if;
exception when others then
    trials := null;
end
$$
"""

# `target`: of a complete trial that an attempt of ours completed the value in Optuna's table, of others the best
# epoch's; see `tables/trial_values.py`.
BACKLOG = r"""
create view hpsearch.backlog as
with study as (
    select s.study_id, s.study_name, h.priority, h.running_since, b.*,
           (extract(epoch from h.ran + (clock_timestamp() - h.running_since)) / 3600)::double precision as passed,
           case b.metric when 'val_loss' then -1 else 1 end as sign
      from hpsearch.studies h join public.studies s using (study_id), hpsearch.read_budget(h.spec) b
     where h.status = 'running'
), running as (
    select t.study_id, t.trial_id,
           a.trial_id is not null and clock_timestamp()
               <= greatest(a.held_until, pg_postmaster_start_time() + interval '90 seconds') as is_held,
           (select count(*) from hpsearch.attempts p
             where p.trial_id = t.trial_id
               and (p.why in ('crashed', 'stalled') or (coalesce(p.why, 'lost') = 'lost' and p.epochs = 0))) as spent
      from public.trials t left join hpsearch.attempts a on a.trial_id = t.trial_id and a.ended_at is null
     where t.state = 'RUNNING'
), counted as (
    select study.*, trial.*, hold.*
      from study,
           lateral (select count(*) as total,
                           count(*) filter (where t.state = 'WAITING') as waiting,
                           count(*) filter (where t.state = 'FAIL') as failed
                      from public.trials t where t.study_id = study.study_id) trial,
           lateral (select count(*) filter (where r.is_held) as held,
                           count(*) filter (where not r.is_held and r.spent < study.attempts) as orphaned,
                           count(*) filter (where not r.is_held and r.spent >= study.attempts) as given_up
                      from running r where r.study_id = study.study_id) hold
), judged as (
    select c.*,
           coalesce(c.passed >= c.hours, false)
           or case when c.target is not null then exists (
                  select from public.trials t
                    left join public.trial_values v on v.trial_id = t.trial_id and v.objective = 0
                    left join hpsearch.attempts a on a.trial_id = t.trial_id and a.why = 'completed'
                    left join lateral (
                             select max(c.sign * f.figure) * c.sign as best
                               from hpsearch.epochs e, lateral (select case c.metric
                                    when 'val_accuracy' then e.val_accuracy when 'val_loss' then e.val_loss
                                    else e.val_metric end as figure) f
                              where a.trial_id is null and e.trial_id = t.trial_id
                                and f.figure not in ('NaN', 'Infinity', '-Infinity')) own on true
                   where t.study_id = c.study_id and t.state = 'COMPLETE'
                     and c.sign * (case when a.trial_id is null then own.best else v.value end) >= c.sign * c.target)
              else false end as is_closed,
           case when c.failed + c.given_up >= c.failures then (
               select count(*) filter (where last.state = 'FAIL') >= c.failures - c.given_up
                 from (select t.state from public.trials t
                        where t.study_id = c.study_id and t.datetime_complete >= c.running_since at time zone 'utc'
                        order by t.datetime_complete desc, t.trial_id desc
                        limit greatest(c.failures - c.given_up, 0)) last)
           else false end as is_failing
      from counted c
)
select study_name::text as name, priority,
       case when trials is null then null when is_closed or is_failing then orphaned
            else orphaned + waiting + greatest(trials - total, 0) end::integer as free,
       held::integer
  from judged
"""


def upgrade() -> None:
    op.execute(READ_BUDGET)
    op.execute(BACKLOG)


def downgrade() -> None:
    op.execute("drop view hpsearch.backlog")
    op.execute("drop function hpsearch.read_budget")
