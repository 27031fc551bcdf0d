-- Whose figure a cost is: told afterwards and the project's own are new.
ALTER TABLE events COMMENT COLUMN cost_source 'whose figure: upstream, generation (told afterwards), override, price_table or unknown';
