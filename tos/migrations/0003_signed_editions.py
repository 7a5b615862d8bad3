"""That an edition is there is seen once for all signatures that are added together, not for each."""

import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION tos_signatures_guard() RETURNS trigger AS $$
BEGIN
    PERFORM FROM tos_tosconfig WHERE id IN (SELECT tos_config_id FROM written) FOR KEY SHARE;
    IF EXISTS (SELECT FROM (SELECT DISTINCT tos_config_id FROM written) n
            WHERE NOT EXISTS (SELECT FROM tos_tosconfig c WHERE c.id = n.tos_config_id)) THEN
        RAISE EXCEPTION 'a signature has no edition' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER tos_signatures_added AFTER INSERT ON tos_tossignature
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION tos_signatures_guard();
CREATE TRIGGER tos_signatures_changed AFTER UPDATE ON tos_tossignature
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION tos_signatures_guard();

-- After the row is gone: who adds a signature has shared its lock until then, or finds nothing from then on.
CREATE FUNCTION tos_edition_signed() RETURNS trigger AS $$
BEGIN
    IF EXISTS (SELECT FROM tos_tossignature WHERE tos_config_id = OLD.id) THEN
        RAISE EXCEPTION 'edition % was signed', OLD.id USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER tos_edition_deleted AFTER DELETE ON tos_tosconfig
    FOR EACH ROW EXECUTE FUNCTION tos_edition_signed();
CREATE TRIGGER tos_edition_named AFTER UPDATE OF id ON tos_tosconfig
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION tos_edition_signed();
"""

BACKWARD = """
DROP TRIGGER tos_edition_named ON tos_tosconfig;
DROP TRIGGER tos_edition_deleted ON tos_tosconfig;
DROP FUNCTION tos_edition_signed();
DROP TRIGGER tos_signatures_changed ON tos_tossignature;
DROP TRIGGER tos_signatures_added ON tos_tossignature;
DROP FUNCTION tos_signatures_guard();
"""


class Migration(migrations.Migration):
    dependencies = [("tos", "0002_signature_index")]

    operations = [
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.AlterField(
            model_name="tossignature",
            name="tos_config",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                to="tos.tosconfig",
            ),
        ),
    ]
