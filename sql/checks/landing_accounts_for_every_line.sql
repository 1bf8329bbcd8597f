-- Of every landed file: lines = blank + good + rejected, and good = inserted + duplicate + superseded + conflict. severity: fail
select path, lines, blank, good, rejected, inserted, duplicate, superseded, conflict
from source_files
where state = 'landed' and (
    lines <> blank + good + rejected
    or good <> coalesce(inserted, good) + coalesce(duplicate, 0) + coalesce(superseded, 0) + coalesce(conflict, 0))
