-- What engagement.totals.v1 says, as figures.

-- name: published_record
-- The latest record of every key of every partition. $file: a Parquet file.
create or replace table published_record as
select partition, key, value,
    case when json_valid(key) then json_type(key) end as key_type,
    case when json_valid(value) then json_type(value) end as value_type
from read_parquet($file)
qualify row_number() over (partition by partition, key order by "offset" desc) = 1;

-- name: unreadable
-- Records that are none of schemas.totals. (A value of null removes an entry.)
create or replace table unreadable as
select partition, coalesce(key, '') as key from published_record
where value is not null
    and (coalesce(key_type, '') <> 'ARRAY' or coalesce(value_type, '') <> 'OBJECT');

-- name: readable
delete from published_record
where value is null or coalesce(key_type, '') <> 'ARRAY' or coalesce(value_type, '') <> 'OBJECT';

-- name: position
create or replace table position as
select partition,
    try_cast(value ->> 'offset' as bigint) as last_offset,
    coalesce(try_cast(value ->> 'present_ms' as bigint), 0) as present_ms,
    try_cast(value ->> 'generation_events' as bigint) as generation_events,
    try_cast(value ->> 'generations' as bigint) as generations,
    -- A release that knew no limit in time told none.
    coalesce(try_cast(value ->> 'generation_ms' as bigint), 1::bigint << 61) as generation_ms,
    value as entry
from published_record where key ->> 0 = 'position';

-- name: unreadable_position
insert into unreadable
select partition, '["position"]' from position
where last_offset is null or coalesce(generation_events, 0) < 1 or coalesce(generations, 0) < 1;

-- name: readable_position
delete from position where last_offset is null;

-- name: horizon
-- The rule of duplicates of every partition of the log: its own, else the most frequent one, else the default.
create or replace table horizon as
with given as (
    select partition, generation_events, generations, generation_ms from position
    where generation_events >= 1 and generations >= 1 and generation_ms >= 1
),
usual as (
    select generation_events, generations, generation_ms from given
    group by all order by count(*) desc, generation_events, generations, generation_ms limit 1
),
fallback as (
    select coalesce(max(generation_events), $generation_events) as generation_events,
        coalesce(max(generations), $generations) as generations,
        coalesce(max(generation_ms), $generation_ms) as generation_ms
    from usual
)
select partition,
    coalesce(given.generation_events, fallback.generation_events) as generation_events,
    coalesce(given.generations, fallback.generations) as generations,
    coalesce(given.generation_ms, fallback.generation_ms) as generation_ms
from (select distinct partition from record) left join given using (partition), fallback;

-- name: published_entry
create or replace table published_entry as
select partition, key ->> 0 as scope, coalesce(key ->> 1, '') as s1, coalesce(key ->> 2, '') as s2,
    coalesce(key ->> 3, '') as s3, value
from published_record where key ->> 0 <> 'position';

-- name: since
-- Figures that an older release counted without following their course, and up to which offset.
create or replace table since as
select partition, s1 as platform, s2 as subject, s3 as metric,
    try_cast(value ->> 'since' as bigint) as last_offset
from published_entry where scope = 'reading' and try_cast(value ->> 'since' as bigint) >= 0;

-- name: published
-- Figures, one a row, as in recounted. A count of 0 says the same as no entry; what is no number becomes -1,
-- which no figure is.
create or replace table published as
with counted as (
    select partition, scope, s1, s2,
        unnest(map_entries(from_json(value -> 'actions', '"MAP(VARCHAR, VARCHAR)"'))) as action
    from published_entry
    where scope in ('account', 'hashtag', 'campaign', 'country', 'format', 'vip', 'post', 'broadcast')
        or scope = 'minute' and value ->> 'closed' = 'true'
),
entered as (
    select partition, s1, unnest(map_entries(from_json(value -> 'phases', '"MAP(VARCHAR, VARCHAR)"'))) as phase
    from published_entry where scope = 'broadcast'
),
told as (
    select partition, scope, s1, s2, action.key as metric, action.value as value from counted
    union all
    select partition, scope, s1, s2, 'last_ms', value ->> 'last_ms' from published_entry
    where scope not in ('reading', 'minute') and value ->> 'last_ms' <> '0'
    union all
    select partition, 'broadcast', s1, '', 'phase ' || phase.key, phase.value from entered
    union all
    select partition, 'reading', s1, s2, s3, coalesce(value ->> 'value', '') from published_entry
    where scope = 'reading'
    union all
    select partition, 'reading', s1, s2, s3 || ' ' || name, value ->> name
    from published_entry, (select unnest(
        ['at_ms', 'first', 'gained', 'lost', 'falls', 'corrections', 'resets', 'reset_by', 'late',
            'before_reset']) as name)
    where scope = 'reading' and (value ->> name <> '0' or value ->> name is not null and name = 'first')
    union all
    select partition, 'position', '', '', name, coalesce(entry ->> name, '')
    from position, (select unnest(
        ['sequence', 'counted', 'duplicates', 'refused', 'present_ms', 'watermark_ms']) as name)
)
select partition, scope, s1, s2, metric, coalesce(try_cast(value as hugeint), -1) as value from told
where scope in ('reading', 'position') or value is distinct from '0';

-- name: not_followed
-- An entry of an older release tells nothing of the course of its figure.
delete from recounted
where scope = 'reading' and contains(metric, ' ') and not ends_with(metric, ' at_ms')
    and (partition, s1, s2, split_part(metric, ' ', 1)) in (
        select (partition, s1, s2, s3) from published_entry
        where scope = 'reading' and value ->> 'first' is null
    );

-- name: given_up
-- Closed minutes that are long past need not be published any more.
delete from recounted
where scope = 'minute'
    and (partition, s1, s2) not in (select (partition, s1, s2) from published where scope = 'minute')
    and exists (
        from position
        where position.partition = recounted.partition
            and try_cast(recounted.s2 as bigint) + getvariable('kept_ms') <= position.present_ms
    );
