from django.db import migrations, models


class Migration(migrations.Migration):
    """The one row that says how far events have been told, and the events of the public stream."""

    dependencies = [("ledger", "0011_arrivals")]

    operations = [
        migrations.CreateModel(
            name="StreamPosition",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last", models.BigIntegerField(default=0, help_text="Position of the newest event told.")),
                ("forgotten", models.BigIntegerField(default=0, help_text="Events up to here are not kept any more.")),
                ("status", models.IntegerField(default=0, help_text="The hub's status as it was told last: flags.")),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(id=1), name="stream_position_single_row")]
            },
        ),
        migrations.AlterField(
            model_name="outbox",
            name="event",
            field=models.CharField(
                choices=[
                    ("REGISTERED_WALLET", "Registered Wallet"),
                    ("CONFIRMED_DEPOSIT", "Confirmed Deposit"),
                    ("REQUESTED_WITHDRAWAL", "Requested Withdrawal"),
                    ("CONFIRMED_WITHDRAWAL", "Confirmed Withdrawal"),
                    ("TRANSFER_CONFIRMATION", "Transfer Confirmation"),
                    ("SWAP_CONFIRMATION", "Swap Confirmation"),
                    ("MATCHED_SWAP", "Matched Swap"),
                    ("SWAP_CANCELLATION", "Swap Cancellation"),
                    ("SWAP_FINALIZATION", "Swap Finalization"),
                    ("CHECKPOINT_CREATED", "Checkpoint Created"),
                    ("EON_STARTED", "Eon Started"),
                    ("CHECKPOINT_SUBMITTED", "Checkpoint Submitted"),
                    ("REORGANISATION", "Reorganisation"),
                    ("STATUS", "Status"),
                ],
                max_length=32,
            ),
        ),
    ]
