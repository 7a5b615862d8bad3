"""The line of orders: each gets the next number when the matching sees it first."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ledger", "0011_order_markers")]
    operations = [
        migrations.RunSQL("CREATE SEQUENCE ledger_arrival_seq", "DROP SEQUENCE ledger_arrival_seq"),
    ]
