from django.db import migrations, models


class Migration(migrations.Migration):
    """Freezings of orders are told, for copies of the book."""

    dependencies = [("ledger", "0015_many_wallets")]

    operations = [
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
                    ("SWAP_FREEZING", "Swap Freezing"),
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
