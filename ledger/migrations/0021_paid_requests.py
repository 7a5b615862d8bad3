from django.db import migrations, models

FORWARD = """
CREATE FUNCTION ledger_requests_paid() RETURNS trigger AS $$
BEGIN
    UPDATE ledger_withdrawalrequest r SET paid = TG_OP = 'INSERT' FROM written w WHERE r.id = w.request_id;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER ledger_withdrawals_added AFTER INSERT ON ledger_withdrawal
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger_requests_paid();
CREATE TRIGGER ledger_withdrawals_undone AFTER DELETE ON ledger_withdrawal
    REFERENCING OLD TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger_requests_paid();
UPDATE ledger_withdrawalrequest r SET paid = true FROM ledger_withdrawal w WHERE r.id = w.request_id;
"""

BACKWARD = """
DROP TRIGGER ledger_withdrawals_undone ON ledger_withdrawal;
DROP TRIGGER ledger_withdrawals_added ON ledger_withdrawal;
DROP FUNCTION ledger_requests_paid();
"""


class Migration(migrations.Migration):
    """Requests know whether they are paid, which an index of the few that wait needs; a trigger tells them."""

    dependencies = [("ledger", "0020_archive")]

    operations = [
        migrations.AddField(
            model_name="withdrawalrequest",
            name="paid",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whether there is a withdrawal for it; a trigger writes this.",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
        migrations.AddIndex(
            model_name="withdrawalrequest",
            index=models.Index(
                condition=models.Q(("paid", False), ("slashed", False)),
                fields=["eon_number"],
                name="withdrawal_request_waiting",
            ),
        ),
    ]
