-- A project's admin asks for a plan, who runs the installation gives it; and no plan sells what is not there yet.
ALTER TABLE projects ADD COLUMN wanted_plan text REFERENCES plans;
UPDATE plans SET features = array_remove(array_remove(features, 'explanations'), 'integrations');
