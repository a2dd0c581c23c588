<#
.SYNOPSIS
    The recovery checkpoint of one VM that shares no disk.
.DESCRIPTION
    Input: { settings, vmId, tag, consistency, deadlineMs }. Output: a checkpoint description.
    Collections are not for single VMs (hyperv.md 0.1). Deadline, tag and undo as in New-CollectionCheckpoint.
    Source: hyperv.md 1.2 (CreateSnapshot of Msvm_VirtualSystemSnapshotService; SnapshotType 32768 as xHyper and bareos do).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.namespace
    $state = $Request.settings.stateDirectory
    $images = Get-GcbService -Namespace $namespace -ClassName Msvm_ImageManagementService
    $service = Get-GcbService -Namespace $namespace -ClassName Msvm_VirtualSystemSnapshotService
    $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $Request.vmId
    if ($null -eq $system) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.vmId -Message "VM $($Request.vmId) is not on this host." -Remedy 'Ask the agent on the host where the VM runs.'
    }
    $existing = @(Get-GcbCheckpointSetting -VirtualSystem $system -RecoveryOnly)
    $records = @(Get-GcbRecord -StateDirectory $state -Kind 'checkpoints' | Where-Object -FilterScript { $_.tag -eq $Request.tag })
    foreach ($candidate in $existing) {
        $id = 'vm/' + $Request.vmId + '/' + $candidate.InstanceID
        $record = Find-GcbCheckpointRecord -Records $records -SnapshotCollectionId $id -CollectionId ('vm/' + $Request.vmId) -Checkpoints @($candidate)
        if ($null -ne $record) {
            return (Get-GcbCheckpointDescription -ImageService $images -SnapshotCollectionId $id -Checkpoints @($candidate) -Record $record)
        }
    }
    $settingText = New-GcbSnapshotSetting -Namespace $namespace -Consistency $Request.consistency -IgnoreNonSnapshottableDisks ([bool]$Request.settings.ignoreNonSnapshottableDisks) -GuestBackupType $Request.settings.guestBackupType
    $record = [ordered]@{
        tag                  = $Request.tag
        consistency          = $Request.consistency
        collectionId         = 'vm/' + $Request.vmId
        snapshotCollectionId = ''
        before               = @($existing | ForEach-Object -Process { 'vm/' + $Request.vmId + '/' + $_.InstanceID })
        startedAtMs          = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        endedAtMs            = 0
    }
    Save-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $Request.tag -Record $record
    try {
        $outcome = Invoke-GcbMethod -Target $service -MethodName CreateSnapshot -Subject $Request.vmId -TimeoutMs ([long]$Request.deadlineMs) -Arguments @{
            AffectedSystem   = $system
            SnapshotSettings = $settingText
            SnapshotType     = [uint16]$Request.settings.vmSnapshotType
        }
        $made = Get-GcbResult -Outcome $outcome -Parameter 'ResultingSnapshot' -ClassName Msvm_VirtualSystemSettingData
        if ($null -eq $made) {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.vmId -Message "The checkpoint of VM $($Request.vmId) was reported as made but is not there." -Remedy 'Read the Hyper-V-VMMS event log of the host and run again.'
        }
        $id = 'vm/' + $Request.vmId + '/' + $made.InstanceID
        $record['snapshotCollectionId'] = $id
        $record['endedAtMs'] = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        Save-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $Request.tag -Record $record
        return (Get-GcbCheckpointDescription -ImageService $images -SnapshotCollectionId $id -Checkpoints @($made) -Record ([pscustomobject]$record))
    }
    catch {
        $failure = $_
        $clock = [System.Diagnostics.Stopwatch]::StartNew()
        $isTimeOut = Test-GcbErrorCode -ErrorRecord $failure -Code 'HV_JOB_TIMED_OUT'
        do {
            $left = $null
            foreach ($candidate in @(Get-GcbCheckpointSetting -VirtualSystem $system -RecoveryOnly)) {
                if (@($record['before']) -contains ('vm/' + $Request.vmId + '/' + $candidate.InstanceID)) { continue }
                try { Remove-GcbCheckpoint -Namespace $namespace -Checkpoint $candidate -TimeoutMs ([long]$Request.settings.callTimeoutMs) }
                catch { $left = $_ }
            }
            $goesOn = ($isTimeOut -or $null -ne $left) -and $clock.ElapsedMilliseconds -lt [long]$Request.settings.settleMs
            if ($goesOn) { Start-Sleep -Milliseconds 1000 }
        } while ($goesOn)
        if ($null -ne $left) {
            Stop-GcbVerb -Code 'HV_UNDO_FAILED' -Subject $Request.tag -Message "The checkpoint failed ($($failure.Exception.Message)) and what it made could not be removed: $($left.Exception.Message)" -Remedy 'The next sweep tries again; Remove-VMSnapshot removes it by hand.'
        }
        Remove-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $Request.tag
        throw $failure
    }
}
