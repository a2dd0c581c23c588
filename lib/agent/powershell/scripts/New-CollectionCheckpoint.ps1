<#
.SYNOPSIS
    Freezes all members of a collection, switches their disks to differencing files, thaws.
.DESCRIPTION
    Input: { settings, collectionId, tag, consistency, deadlineMs }. Output: a checkpoint description.
    The deadline is kept here, whether the caller lives or not: when it passes, the job is asked to stop, whatever it still
    makes is removed, and the verb fails with HV_JOB_TIMED_OUT. Inside the guests VSS itself ends a freeze (hyperv.md 5).
    A second call with the same tag finds the first one's checkpoint.
    Source: hyperv.md 1.3 (CreateSnapshot of Msvm_CollectionSnapshotService; SnapshotType is a setting, documented value 2).
    INFERRED: freeze and thaw are not reported by Hyper-V; start and end of the call bound them.
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
    $namespace = $Request.settings.collectionNamespace
    $state = $Request.settings.stateDirectory
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $service = Get-GcbService -Namespace $namespace -ClassName Msvm_CollectionSnapshotService
    $collection = Get-CimInstance -Namespace $namespace -ClassName Msvm_VirtualSystemCollection -Filter (Format-GcbFilter -Property 'CollectionID' -Value $Request.collectionId) | Select-Object -First 1
    if ($null -eq $collection) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.collectionId -Message "Collection $($Request.collectionId) does not exist." -Remedy 'Run again: the collection is made anew.'
    }
    $existing = @(Get-GcbSnapshotCollection -Collection $collection)
    $records = @(Get-GcbRecord -StateDirectory $state -Kind 'checkpoints' | Where-Object -FilterScript { $_.tag -eq $Request.tag })
    foreach ($candidate in $existing) {
        $checkpoints = @(Get-GcbCollectedCheckpoint -SnapshotCollection $candidate)
        $record = Find-GcbCheckpointRecord -Records $records -SnapshotCollectionId $candidate.CollectionID -CollectionId $Request.collectionId -Checkpoints $checkpoints
        if ($null -ne $record) {
            return (Get-GcbCheckpointDescription -ImageService $images -SnapshotCollectionId $candidate.CollectionID -Checkpoints $checkpoints -Record $record)
        }
    }
    $settingText = New-GcbSnapshotSetting -Namespace $namespace -Consistency $Request.consistency -IgnoreNonSnapshottableDisks ([bool]$Request.settings.ignoreNonSnapshottableDisks) -GuestBackupType $Request.settings.guestBackupType
    $record = [ordered]@{
        tag                  = $Request.tag
        consistency          = $Request.consistency
        collectionId         = $Request.collectionId
        snapshotCollectionId = ''
        before               = @($existing | ForEach-Object -Process { [string]$_.CollectionID })
        startedAtMs          = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        endedAtMs            = 0
    }
    Save-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $Request.tag -Record $record
    try {
        $outcome = Invoke-GcbMethod -Target $service -MethodName CreateSnapshot -Subject $Request.collectionId -TimeoutMs ([long]$Request.deadlineMs) -Arguments @{
            Collection       = $collection
            SnapshotSettings = $settingText
            SnapshotType     = [uint16]$Request.settings.collectionSnapshotType
        }
        $made = Get-GcbResult -Outcome $outcome -Parameter 'ResultingSnapshotCollection' -ClassName Msvm_SnapshotCollection
        if ($null -eq $made) {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.collectionId -Message "The checkpoint of collection $($Request.collectionId) was reported as made but is not there." -Remedy 'Read the Hyper-V-VMMS event log of the host and run again.'
        }
        $record['snapshotCollectionId'] = [string]$made.CollectionID
        $record['endedAtMs'] = ConvertTo-GcbUnixMs -Time ([datetime]::UtcNow)
        Save-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $Request.tag -Record $record
        return (Get-GcbCheckpointDescription -ImageService $images -SnapshotCollectionId ([string]$made.CollectionID) -Checkpoints @(Get-GcbCollectedCheckpoint -SnapshotCollection $made) -Record ([pscustomobject]$record))
    }
    catch {
        $failure = $_
        # A job that was asked to stop may still finish: look for its result until the time to settle has passed.
        $clock = [System.Diagnostics.Stopwatch]::StartNew()
        $isTimeOut = Test-GcbErrorCode -ErrorRecord $failure -Code 'HV_JOB_TIMED_OUT'
        do {
            $left = $null
            foreach ($candidate in @(Get-GcbSnapshotCollection -Collection $collection)) {
                if (@($record['before']) -contains [string]$candidate.CollectionID) { continue }
                try { Remove-GcbSnapshotCollection -Namespace $namespace -SnapshotCollection $candidate -TimeoutMs ([long]$Request.settings.callTimeoutMs) }
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
